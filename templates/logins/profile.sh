# Interactive logins, by Slipway.
# A terminal that was left open is root's, as sudo asks for no password: it ends after half an hour without a key.
TMOUT=1800
# A core dump holds secrets.
ulimit -c 0
