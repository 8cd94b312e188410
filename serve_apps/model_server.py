"""One registered model behind HTTP.

serve run serve_apps.model_server:build model=digits@champion
"""

from raymi.serve.application import build

__all__ = ["build"]
