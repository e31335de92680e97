"""A self-signed certificate for localhost, good until 2126, and its key; made for these tests alone.

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 36500 -subj /CN=localhost \\
    -addext subjectAltName=DNS:localhost
"""

CERTIFICATE = b"""\
-----BEGIN CERTIFICATE-----
MIIBljCCATugAwIBAgIUV0ro+b4HI0u/iXDg3agC7pB7V38wCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMzE5MDAyM1oYDzIxMjYxMDMw
MTkwMDIzWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAQ/Q0q1Y3HGs4470Q4NAOge2U/eLDgoxwyxKJFmSUuQOgQneshAXheN
6thkt9gxqWBHKlzApLrrJTnPoFi//a3Io2kwZzAdBgNVHQ4EFgQU4bhu8IGgkcXm
9GXcxL4BwuTMe5QwHwYDVR0jBBgwFoAU4bhu8IGgkcXm9GXcxL4BwuTMe5QwDwYD
VR0TAQH/BAUwAwEB/zAUBgNVHREEDTALgglsb2NhbGhvc3QwCgYIKoZIzj0EAwID
SQAwRgIhANxVz0/1jkSHwtttw8K8kpCvpTQqyiDmPX9vGveVyui7AiEAzTYzYwo8
0bAil93qriiOS71X1An8LW+dwVvkuSNSEKk=
-----END CERTIFICATE-----
"""
KEY = b"""\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgWnVNXMAWL6gOOX3c
jXoy+8fSbgcH14W9jN1awmcgovOhRANCAAQ/Q0q1Y3HGs4470Q4NAOge2U/eLDgo
xwyxKJFmSUuQOgQneshAXheN6thkt9gxqWBHKlzApLrrJTnPoFi//a3I
-----END PRIVATE KEY-----
"""
