# A MongoDB of another publisher, whose package is in conflict with MongoDB's own.
cd "$(mktemp -d)"; mkdir -p tree/DEBIAN tree/usr/bin
printf '%s\n' 'Package: percona-server-mongodb-server' "Version: $MONGODB_VERSION.9-1" 'Architecture: amd64' \
  'Maintainer: Percona' 'Conflicts: mongodb-org-server' 'Description: Percona Server for MongoDB' > tree/DEBIAN/control
printf '#!/bin/sh\necho db version v%s.9-1\n' "$MONGODB_VERSION" > tree/usr/bin/mongod; chmod 755 tree/usr/bin/mongod
dpkg-deb --build tree server.deb > /dev/null; dpkg -i server.deb > /dev/null; rm -r "$PWD"
