"""What a bundle from elsewhere would execute, read without executing any of it."""
