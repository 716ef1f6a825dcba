// An OpenID provider with keys of its own. Prints its issuer once it listens.
//
// Tokens come by client credentials: SCOPES are what clients may ask for; an audience of `short` gives tokens that
// end in two seconds. Or people sign in, with any name and password, at the public clients `console` and
// `briefly`, whose ID tokens end in two seconds. `redirect_uri` may have any port.
import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';
import { Provider } from 'oidc-provider';

const SCOPES = 'images:read images:study images:nothing';
const PROFILE = ['name', 'preferred_username', 'groups', 'realm_access'];

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

const publicClient = (client_id) => ({
  client_id,
  application_type: 'native',
  token_endpoint_auth_method: 'none',
  grant_types: ['authorization_code'],
  redirect_uris: ['http://127.0.0.1/console/callback'],
  post_logout_redirect_uris: ['http://127.0.0.1/console/'],
  response_types: ['code'],
});

const account = (_, id) => ({
  accountId: id,
  claims: () => ({
    sub: id,
    name: `${id} of the tests`,
    preferred_username: id,
    email: `${id}@example.org`,
    email_verified: true,
    groups: id === 'ana' ? ['radiology', 'readers'] : ['visitors'],
    realm_access: { roles: id === 'ana' ? ['image-reader'] : [] },
  }),
});

const server = createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [
      client('viewer'), client('https://viewer.example/a long name'), publicClient('console'), publicClient('briefly'),
    ],
    cookies: { keys: ['of the tests'] },
    jwks: { keys: [key('first'), key('second')] },
    scopes: ['openid', 'profile', 'email', ...SCOPES.split(' ')],
    claims: { openid: ['sub'], profile: PROFILE, email: ['email', 'email_verified'] },
    conformIdTokenClaims: false,
    findAccount: account,
    clientBasedCORS: () => true,
    ttl: { IdToken: (_, __, asking) => (asking.clientId === 'briefly' ? 2 : 600) },
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => undefined,
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
