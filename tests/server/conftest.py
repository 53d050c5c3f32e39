"""Tests of components of one's own take what is in the plugin as well, wherever they are."""

pytest_plugins = ["slipway.server_tests.plugin"]
