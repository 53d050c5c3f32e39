"""The plugin is also used by the tests of a project's own components."""

pytest_plugins = ["slipway.server_tests.plugin"]
