import type { FunctionComponent } from 'preact'
import { signal } from '@preact/signals'
import { useEffect } from 'preact/hooks'
import { SearchX } from 'lucide-preact'
import { ErrorBoundary, LocationProvider, Route, Router, lazy, useLocation } from 'preact-iso'
import { ButtonLink } from '../ui/Button'
import { EmptyState, ErrorState, Skeleton } from '../ui/States'
import { Toasts } from '../ui/Toasts'
import { session } from '../session/session'
import { SignIn } from '../session/SignIn'
import { Layout } from './Layout'
import { activeStores, stores, storesError } from './stores'
import { titleOf } from './titles'

export const startError = signal<unknown>(undefined)

// Every page is a file of its own that is loaded when it is opened. The viewer has the whole window.
const Stores = lazy(() => import('../pages/stores/Stores'))
const StoreDetails = lazy(() => import('../pages/stores/StoreDetails'))
const Studies = lazy(() => import('../pages/studies/Studies'))
const ImageSet = lazy(() => import('../pages/imageset/ImageSet'))
const Import = lazy(() => import('../pages/import/Import'))
const Jobs = lazy(() => import('../pages/jobs/Jobs'))
const Keys = lazy(() => import('../pages/keys/Keys'))
const Roles = lazy(() => import('../pages/roles/Roles'))
const Authorizers = lazy(() => import('../pages/authorizers/Authorizers'))
const Policies = lazy(() => import('../pages/policies/Policies'))
const Events = lazy(() => import('../pages/events/Events'))
const Health = lazy(() => import('../pages/health/Health'))
const Viewer = lazy(() => import('../viewer/Viewer'))

/** A page that begins anew with each data store and image set: the router would keep it, and what it shows and has picked. */
function anewFor<P extends { store?: string; imageSet?: string }>(Page: FunctionComponent<P>): FunctionComponent<P> {
  return (props) => <Page key={`${props.store} ${props.imageSet ?? ''}`} {...props} />
}

const StoreStudies = anewFor(Studies)
const DetailsOfStore = anewFor(StoreDetails)
const StoreImport = anewFor(Import)
const StoreJobs = anewFor(Jobs)
const StoreImageSet = anewFor(ImageSet)
const StoreViewer = anewFor(Viewer)

export function App({ link }: { link: string | null }) {
  if (startError.value !== undefined) {
    return <ErrorState title="The console cannot start" error={startError.value} retry={() => location.reload()} />
  }
  return (
    <>
      {session.value === null ? (
        <SignIn link={link} />
      ) : (
        <LocationProvider scope="/console">
          <Pages />
        </LocationProvider>
      )}
      <Toasts />
    </>
  )
}

function Pages() {
  const { path } = useLocation()
  useEffect(() => {
    document.title = titleOf(path)
    return () => void (document.title = 'lightwell')
  }, [path])
  if (/^\/console\/stores\/[^/]+\/view\//.test(path)) {
    return (
      <ErrorBoundary>
        <Router>
          <Route path="/console/stores/:store/view/:imageSet" component={StoreViewer} />
          <Route default component={NotFound} />
        </Router>
      </ErrorBoundary>
    )
  }
  return (
    <Layout>
      <ErrorBoundary>
        <Router>
          <Route path="/console/" component={Home} />
          <Route path="/console/stores" component={Stores} />
          <Route path="/console/stores/:store" component={StoreStudies} />
          <Route path="/console/stores/:store/details" component={DetailsOfStore} />
          <Route path="/console/stores/:store/import" component={StoreImport} />
          <Route path="/console/stores/:store/jobs" component={StoreJobs} />
          <Route path="/console/stores/:store/jobs/:job" component={StoreJobs} />
          <Route path="/console/stores/:store/sets/:imageSet" component={StoreImageSet} />
          <Route path="/console/keys" component={Keys} />
          <Route path="/console/roles" component={Roles} />
          <Route path="/console/authorizers" component={Authorizers} />
          <Route path="/console/policies" component={Policies} />
          <Route path="/console/events" component={Events} />
          <Route path="/console/health" component={Health} />
          <Route default component={NotFound} />
        </Router>
      </ErrorBoundary>
    </Layout>
  )
}

/** Where people begin: in their data store if there is one only, else at the list of them. */
function Home() {
  const { route } = useLocation()
  const [only, ...others] = activeStores.value
  const id = only !== undefined && others.length === 0 ? only.datastoreId : null
  useEffect(() => {
    if (id !== null) route(`/console/stores/${id}`, true)
  }, [id])
  if (stores.value === undefined && storesError.value === undefined) return <Skeleton />
  return id === null ? <Stores /> : <Skeleton />
}

function NotFound() {
  return (
    <EmptyState isPage icon={<SearchX />} title="There is no such page" action={<ButtonLink href="/console/stores">Data stores</ButtonLink>}>
      The address may be mistyped, or the page was moved.
    </EmptyState>
  )
}
