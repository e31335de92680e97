"""`beamstep bench`: a load generator that counts every moment a request waited, for servers of ours and of others."""
