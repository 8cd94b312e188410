"""What is running and what should be: the local head, later the queue."""
