# As images' builders switch updates off: the timers are stopped, and the services behind them are masked.
systemctl disable -q --now apt-daily.timer apt-daily-upgrade.timer
systemctl mask -q apt-daily.service apt-daily-upgrade.service
