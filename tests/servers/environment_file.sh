# The site's backend in a clone in a home directory, with its variables in files and uploads beside its code.
useradd --create-home --shell /bin/bash dev 2> /dev/null || :
mkdir -p /home/dev/shop/uploads; echo x > /home/dev/shop/uploads/1.pdf
echo 'STRIPE_KEY=sk_secret' > /etc/codementee.env; echo 'DB_NAME=shop' > /home/dev/shop/.env
cat > /etc/systemd/system/codementee-backend.service <<'N'
[Service]
User=dev
WorkingDirectory=/home/dev/shop
EnvironmentFile=/etc/codementee.env
ExecStart=/usr/bin/python3 -m uvicorn server:app --port 8001
N
systemctl daemon-reload
