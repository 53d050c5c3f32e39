"""One module per component. A project's own tasks/ takes precedence: it adds components, or replaces Slipway's."""

from slipway.project import own_and_shipped

__path__ = own_and_shipped("tasks")
