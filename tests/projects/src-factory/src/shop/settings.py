"""Settings in nested models, with a prefix."""

from pydantic import BaseModel, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Mongo(BaseModel):
    host: str = "localhost"
    port: int = 27017
    user: str
    password: SecretStr
    database: str = "shop"


class Auth(BaseModel):
    secret_key: SecretStr


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="SHOP_", env_nested_delimiter="__", env_file=".env")

    mongo: Mongo
    auth: Auth
    cors_origins: list[str] = []
