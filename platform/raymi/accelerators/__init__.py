"""The only code that knows a vendor: detection, capabilities, environment."""
