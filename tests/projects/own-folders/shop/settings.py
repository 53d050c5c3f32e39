"""What the application reads."""

import os

MONGO_URL = os.getenv("MONGO_URL", "mongodb://localhost:27017")
