"""A module a component. A project's own tasks/ comes first: it adds components, and replaces those of Slipway."""

from slipway.project import own_and_shipped

__path__ = own_and_shipped("tasks")
