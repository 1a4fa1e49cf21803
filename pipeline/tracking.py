class Follower:
    def __init__(self, run): pass
    def __enter__(self): return self
    def __exit__(self, *a): pass
    def send(self, row): pass
