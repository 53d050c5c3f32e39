"""How a site is served: through releases, and how fast, against other web servers on the same host."""
