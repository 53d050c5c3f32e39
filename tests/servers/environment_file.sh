# The site's backend in a clone in a home directory, with its variables in files and uploads beside its code and in
# /srv. Its database is elsewhere.
useradd --create-home --shell /bin/bash dev 2> /dev/null || :
mkdir -p /home/dev/shop/uploads /srv/invoices; echo x > /home/dev/shop/uploads/1.pdf; chown dev: /srv/invoices
echo 'STRIPE_KEY=sk_secret' > /etc/codementee.env; echo 'DB_NAME=shop' > /home/dev/shop/.env
echo 'MONGO_URL="mongodb+srv://shop:db_secret@cluster0.example.net/shop?w=majority"' > /home/dev/shop/db.env
echo 'INVOICES=/srv/invoices' >> /home/dev/shop/.env
cat > /etc/systemd/system/codementee-backend.service <<'E'
[Service]
User=dev
WorkingDirectory=/home/dev/shop
EnvironmentFile=/etc/codementee.env
LoadCredential=signing:/etc/codementee.key
ExecStart=/usr/bin/python3 -m uvicorn server:app --env-file db.env --port 8001
E
systemctl daemon-reload
