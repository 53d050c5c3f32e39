"""What `slipway inspect` makes a plan of: the server of a new project, whose preflight it has asked already."""

from slipway.inspection.plan import describe_server

describe_server()
