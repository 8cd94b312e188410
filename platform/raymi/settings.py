"""This process's environment: where things are kept and which cluster to talk to.

Values come from `RAYMI_*` variables and are read when asked for, never at import, so a
test or a job can change them. Environment variables never change a spec.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Where this process lives."""

    model_config = SettingsConfigDict(env_prefix="RAYMI_", use_attribute_docstrings=True)

    home: Path = Path("~/.raymi")
    """Root of the embedded defaults: database, artifacts, local cluster state."""

    store: Path | None = None
    """Directory for datasets, runs and bundles; on a cluster, one every node can reach."""

    database_url: SecretStr | None = None
    """SQLAlchemy URL; SQLite under `home` when unset. Never SQLite on a network file system."""

    grpc_port: int | None = None
    """Where served models answer over gRPC; a cluster's processes must all have it, or none."""

    haproxy_max_per_replica: int | None = None
    """Requests that HAProxy gives a replica at once; read by `raymi-haproxy` when it starts."""

    @property
    def home_dir(self) -> Path:
        """`home`, absolute."""
        return self.home.expanduser().resolve()

    @property
    def store_dir(self) -> Path:
        """Where artifacts are kept, absolute."""
        return self.store.expanduser().resolve() if self.store else self.home_dir / "store"

    @property
    def database(self) -> str:
        """The SQLAlchemy URL in force. It may hold a password: never log it."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{self.home_dir / 'raymi.db'}"


def settings() -> Settings:
    """Read the environment now."""
    return Settings()
