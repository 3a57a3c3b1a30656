"""What a user says: plain data with validation, no input or output."""
