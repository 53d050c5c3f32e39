# UFW with an owner's rules: for some addresses, for outgoing and for forwarded traffic, each with a comment.
apt-get update -qq; apt-get install -y -qq --no-install-recommends ufw > /dev/null
{
  ufw allow 22/tcp comment 'my ssh'; ufw allow 443
  ufw allow from 10.0.0.5 to any port 5432 proto tcp comment 'the office'
  ufw deny from 192.0.2.66
  ufw allow in on wg1; ufw route allow in on wg0 out on eth0
  ufw default deny outgoing; ufw allow out 53; ufw allow out 1:65535/tcp
  ufw --force enable
} > /dev/null
