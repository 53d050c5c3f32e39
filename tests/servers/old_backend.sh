# The site's backend in a foreign unit, with variables that Slipway's would lack.
mkdir -p /var/www/codementee/backend/uploads
echo x > /var/www/codementee/backend/uploads/1.pdf
printf 'DB_NAME="test_database"\nexport RAZORPAY_KEY=rzp_secret\n' > /var/www/codementee/backend/.env
cat > /etc/systemd/system/codementee-backend.service <<'END'
[Service]
Environment="SENDGRID_API_KEY=sg_secret"
WorkingDirectory=/var/www/codementee/backend
ExecStart=/usr/bin/python3 -m uvicorn api.main:application --port 8001
END
mkdir -p /etc/systemd/system/codementee-backend.service.d
printf '[Service]\nUser=root\n' > /etc/systemd/system/codementee-backend.service.d/override.conf
