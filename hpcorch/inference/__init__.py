"""Model workers: the processes beside a database that run AI models."""
