"""HAProxy's configuration as Serve itself writes it, for tests of what becomes of it."""

from ray.serve._private.haproxy import BackendConfig, HAProxyApi, HAProxyConfig, ServerConfig
from ray.serve.config import HTTPOptions


def written_by_serve(directory, *, replicas, fallback=8500, host="127.0.0.1", port=8000):
    """What Serve writes for an application `digits` whose replicas have these ports.

    Args:
        directory: For the file and HAProxy's sockets.
        replicas: Their HTTP ports.
        fallback: The port of Serve's own proxy.
        host: The interface on which HAProxy listens.
        port: Its port there.
    """
    servers = [
        ServerConfig(name=f"r{k}", host="127.0.0.1", port=one) for k, one in enumerate(replicas)
    ]
    backend = BackendConfig(
        name="http-digits",
        path_prefix="/",
        servers=servers,
        app_name="digits",
        fallback_server=ServerConfig(name="proxy", host="127.0.0.1", port=fallback),
    )
    config = HAProxyConfig(
        socket_path=str(directory / "admin.sock"), http_options=HTTPOptions(host=host, port=port)
    )
    api = HAProxyApi(
        config,
        backend_configs={"http-digits": backend},
        config_file_path=str(directory / "haproxy.cfg"),
    )
    api._generate_config_file_internal()
    return (directory / "haproxy.cfg").read_text()
