# MongoDB's apt source and key as in its own manual.
# https://www.mongodb.com/docs/v7.0/tutorial/install-mongodb-on-debian/
apt-get update -qq; apt-get install -y -qq gnupg curl > /dev/null
curl -fsSL "$MONGODB_KEY_URL" | gpg -o "/usr/share/keyrings/mongodb-server-$MONGODB_VERSION.gpg" --dearmor
echo "deb [ arch=amd64,arm64 signed-by=/usr/share/keyrings/mongodb-server-$MONGODB_VERSION.gpg ]" \
  "$MONGODB_APT_URL/debian bookworm/mongodb-org/$MONGODB_VERSION main" |
  tee "/etc/apt/sources.list.d/mongodb-org-$MONGODB_VERSION.list" > /dev/null
apt-get update -qq
apt-get install -y -qq mongodb-org-server mongodb-mongosh > /dev/null
