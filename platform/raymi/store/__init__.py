"""Where things are kept: atomically published artifacts and the database."""
