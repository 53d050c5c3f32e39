# sshguard's own table, as Debian's package makes it (CrowdSec's bouncer is alike: ip crowdsec crowdsec-chain).
apt-get update -qq; apt-get install -y -qq --no-install-recommends nftables > /dev/null
nft add table ip sshguard; nft 'add set ip sshguard attackers { type ipv4_addr; flags interval; }'
nft 'add chain ip sshguard blacklist { type filter hook input priority -10; policy accept; }'
nft add rule ip sshguard blacklist ip saddr @attackers drop
