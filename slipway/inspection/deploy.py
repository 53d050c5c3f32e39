"""The deploy that `slipway inspect` plans: the server of a new project, without the preflight, which has run."""

from slipway.inspection.plan import describe_server

describe_server()
