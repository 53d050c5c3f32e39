"""MongoDB's URL in parts, put together without an authSource."""

import os
from urllib.parse import quote_plus

USER, PASSWORD = os.environ["MONGO_USER"], os.environ["MONGO_PASSWORD"]
HOST, PORT = os.environ["MONGO_HOST"], int(os.getenv("MONGO_PORT", "27017"))
DATABASE = os.environ["MONGO_DB"]
URL = f"mongodb://{USER}:{quote_plus(PASSWORD)}@{HOST}:{PORT}/{DATABASE}"
SECRET_KEY = os.environ["SECRET_KEY"]
