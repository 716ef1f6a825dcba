// An OpenID provider with keys of its own. Prints its issuer once it listens; tokens come by client credentials.
// SCOPES are what clients may ask for; an audience of `short` gives tokens that end in two seconds.
import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';
import { Provider } from 'oidc-provider';

const SCOPES = 'images:read images:study images:nothing';

const key = (kid) => ({
  ...generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' }),
  kid, alg: 'RS256', use: 'sig',
});

const client = (client_id) => ({
  client_id,
  client_secret: 'a secret of the tests',
  grant_types: ['client_credentials'],
  redirect_uris: [],
  response_types: [],
  scope: SCOPES,
});

const server = createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [client('viewer'), client('https://viewer.example/a long name')],
    cookies: { keys: ['of the tests'] },
    jwks: { keys: [key('first'), key('second')] },
    scopes: SCOPES.split(' '),
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_, resource) => ({
          scope: SCOPES,
          audience: resource,
          accessTokenFormat: 'jwt',
          accessTokenTTL: resource.endsWith('short') ? 2 : 600,
          jwt: { sign: { alg: 'RS256' } },
        }),
      },
    },
  });
  server.on('request', provider.callback());
  console.log(issuer);
});
