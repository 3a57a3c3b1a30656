"""The server module that answers SmartRedis' AI.* commands; its source is in src/."""
