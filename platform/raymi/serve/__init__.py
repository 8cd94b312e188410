"""Stage 6, who can use it: DeploySpec -> Deployment."""
