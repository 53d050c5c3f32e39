# The firewall of a Trellis server: ferm's rules, which drop everything that they do not allow.
apt-get update -qq; echo 'ferm ferm/enable boolean true' | debconf-set-selections
apt-get install -y -qq --no-install-recommends ferm > /dev/null
