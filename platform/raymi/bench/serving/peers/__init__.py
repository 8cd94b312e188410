"""Programs of their own, one for each server; they import neither Raymi nor each other's libraries.

They may run in an environment that has nothing but their own server, torch and safetensors.
"""
