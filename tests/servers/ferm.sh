# The firewall of a Trellis: ferm's rules, which turn away what they do not name.
apt-get update -qq; echo 'ferm ferm/enable boolean true' | debconf-set-selections
apt-get install -y -qq --no-install-recommends ferm > /dev/null
