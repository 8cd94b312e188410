"""What people see of a sweep: tables for terminals, a live view, a page."""
