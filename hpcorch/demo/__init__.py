"""The example that `hpcorch demo` runs: two databases, a driver and programs that use them."""
