# New users get no group of their own: useradd makes their group "users".
sed -i 's/^USERGROUPS_ENAB.*/USERGROUPS_ENAB no/' /etc/login.defs; grep -q '^USERGROUPS_ENAB no' /etc/login.defs
