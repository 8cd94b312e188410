"""What a user may ask for: frozen pydantic models and nothing heavier."""
