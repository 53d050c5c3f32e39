# Two sources of one repository with different keys: apt refuses to do anything.
for key in a b; do
  echo "deb [signed-by=/usr/share/keyrings/$key.gpg] https://packages.example/debian bookworm main" \
    > /etc/apt/sources.list.d/$key.list
done
