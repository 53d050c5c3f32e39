"""How a site is served: during releases, and how fast compared with other web servers on the same host."""
