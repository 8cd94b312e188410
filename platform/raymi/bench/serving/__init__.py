"""Serving compared: the same model and payloads behind other people's servers."""
