# Files of apt's that come after Slipway's, and apt.conf, which comes after all of them.
printf 'Unattended-Upgrade::Origins-Pattern {\n  "origin=Debian,codename=${distro_codename}-updates";\n};\n' \
  > /etc/apt/apt.conf.d/52unattended-upgrades-local
echo 'DPkg::Lock::Timeout "60";' > /etc/apt/apt.conf.d/99lock
echo 'APT::Periodic::Unattended-Upgrade "0";' > /etc/apt/apt.conf
