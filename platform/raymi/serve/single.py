"""TEMP"""
class Single:
    def __init__(self, host): self.host=host; self.name=host.served.name
    def pick(self): return self.host
    def version(self, n): return self.host if n==str(self.host.served.version) else None
