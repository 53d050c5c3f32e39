# The old backend's secrets are in a file that everybody may read.
mkdir -p /var/www/codementee/backend
echo 'STRIPE_KEY=sk_live_51H8x0wnersS3cret' > /etc/codementee.env; chmod 644 /etc/codementee.env
cat > /etc/systemd/system/codementee-backend.service <<'N'
[Service]
WorkingDirectory=/var/www/codementee/backend
EnvironmentFile=/etc/codementee.env
ExecStart=/usr/bin/python3 -m uvicorn server:app --port 8001
N
systemctl daemon-reload
