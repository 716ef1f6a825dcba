import type { ComponentChildren } from 'preact'
import { useEffect, useState } from 'preact/hooks'
import { useLocation } from 'preact-iso'
import { Activity, Database, FolderInput, HeartPulse, Images, KeyRound, ListChecks, LogOut, Menu as MenuIcon, Monitor, Moon, ScrollText, ShieldCheck, Sun, User, UserCog, X } from 'lucide-preact'
import { config } from '../api/config'
import { session } from '../session/session'
import { signOut } from '../session/signIn'
import { datastoreArn, iamArn, useAllowed } from '../session/allowed'
import { IconButton } from '../ui/Button'
import { Menu } from '../ui/Menu'
import { DropOverlay } from '../uploads/DropOverlay'
import { UploadIndicator } from '../uploads/Indicator'
import { activeStores, currentStore, currentStoreId, loadStores, stores } from './stores'
import { headerSlot } from './headerSlot'
import { preloadViewer } from '../viewer/preload'
import { setTheme, theme } from './theme'
import './Layout.css'

/** The frame of every page but the viewer: navigation, the data store in use, who is signed in. */
export function Layout({ children }: { children: ComponentChildren }) {
  const { path, route } = useLocation()
  const [isOpen, setOpen] = useState(false)
  const inPath = /^\/console\/stores\/([^/]+)/.exec(path)?.[1] ?? null
  useEffect(() => void loadStores(), [])
  useEffect(preloadViewer, [])
  useEffect(() => {
    if (inPath !== null) currentStoreId.value = inPath
  }, [inPath])
  useEffect(() => {
    if (currentStoreId.value === null) currentStoreId.value = activeStores.value[0]?.datastoreId ?? null
  }, [stores.value])
  useEffect(() => {
    setOpen(false)
    // A new page begins at its top, and screen readers at its heading.
    document.getElementById('main')?.focus({ preventScroll: true })
    window.scrollTo(0, 0)
  }, [path])
  useEffect(() => {
    const close = (event: KeyboardEvent) => event.key === 'Escape' && setOpen(false)
    document.addEventListener('keydown', close)
    return () => document.removeEventListener('keydown', close)
  }, [])
  const store = currentStoreId.value
  const mayHealth = useAllowed('cloudwatch:GetMetricData', '*')
  return (
    <div class={`layout ${isOpen ? 'nav-open' : ''}`}>
      <a class="skip" href="#main">Skip to content</a>
      <header class="topbar">
        <IconButton class="nav-button" label={isOpen ? 'Close navigation' : 'Open navigation'} aria-expanded={isOpen} onClick={() => setOpen(!isOpen)}>{isOpen ? <X /> : <MenuIcon />}</IconButton>
        <a class="brand" href="/console/" aria-label="lightwell, data stores"><Mark /><span>lightwell</span></a>
        <div class="grow" />
        <UploadIndicator />
        {headerSlot.value}
        <ThemeMenu />
        <Account />
      </header>
      <nav class="rail" aria-label="Main">
        {activeStores.value.length > 0 && (
          <label class="store-choice">
            <span class="visually-hidden">Data store</span>
            <Database aria-hidden="true" />
            <select class="input" value={store ?? ''} onChange={(event) => { currentStoreId.value = event.currentTarget.value; route(`/console/stores/${event.currentTarget.value}`) }}>
              {store !== null && currentStore.value === undefined && <option value={store}>{store.slice(0, 12)}…</option>}
              {activeStores.value.map((each) => <option key={each.datastoreId} value={each.datastoreId}>{each.datastoreName ?? each.datastoreId}</option>)}
            </select>
          </label>
        )}
        {store !== null && <StoreItems store={store} />}
        <ul>
          <Item href="/console/stores" icon={<Database />} also={/^\/console\/?$|\/details$/}>Data stores</Item>
        </ul>
        <AccessItems />
        <ul>
          <Item href="/console/events" icon={<ScrollText />}>Events</Item>
          {mayHealth && <Item href="/console/health" icon={<HeartPulse />}>Health</Item>}
        </ul>
        <p class="faint small version">version {config.value.version}</p>
      </nav>
      <button class="scrim" tabIndex={-1} aria-hidden="true" onClick={() => setOpen(false)} />
      <main id="main" tabIndex={-1}>{children}</main>
      <DropOverlay store={inPath} />
    </div>
  )
}

function StoreItems({ store }: { store: string }) {
  const mayImport = useAllowed('medical-imaging:StartDICOMImportJob', datastoreArn(store))
  const mayListJobs = useAllowed('medical-imaging:ListDICOMImportJobs', datastoreArn(store))
  return (
    <ul>
      <Item href={`/console/stores/${store}`} icon={<Images />} also={/\/sets\//}>Studies</Item>
      {mayImport && <Item href={`/console/stores/${store}/import`} icon={<FolderInput />}>Import</Item>}
      {mayListJobs && <Item href={`/console/stores/${store}/jobs`} icon={<ListChecks />} also={/\/jobs\//}>Jobs</Item>}
    </ul>
  )
}

function AccessItems() {
  const keys = useAllowed('iam:ListAccessKeys', iamArn('user/*'))
  const roles = useAllowed('iam:ListRoles', iamArn('role/*'))
  const authorizers = useAllowed('lambda:ListFunctions', '*')
  const explain = useAllowed('iam:SimulatePrincipalPolicy', iamArn('user/*'))
  if (!keys && !roles && !authorizers && !explain) return null
  return (
    <section>
      <h2>Access</h2>
      <ul>
        {keys && <Item href="/console/keys" icon={<KeyRound />}>Keys</Item>}
        {roles && <Item href="/console/roles" icon={<UserCog />}>Roles</Item>}
        {authorizers && <Item href="/console/authorizers" icon={<ShieldCheck />}>Authorizers</Item>}
        {explain && <Item href="/console/policies" icon={<Activity />}>Policy explainer</Item>}
      </ul>
    </section>
  )
}

function Item({ href, icon, also, children }: { href: string; icon: ComponentChildren; also?: RegExp; children: ComponentChildren }) {
  const { path } = useLocation()
  const isHere = path === href || path === `${href}/` || (also?.test(path) ?? false)
  return (
    <li>
      <a href={href} aria-current={isHere ? 'page' : undefined}>{icon}<span>{children}</span></a>
    </li>
  )
}

function ThemeMenu() {
  const now = theme.value
  return (
    <Menu
      label="Theme"
      icon={now === 'light' ? <Sun /> : now === 'dark' ? <Moon /> : <Monitor />}
      items={[
        { label: 'As the system', icon: <Monitor />, isChecked: now === 'system', onSelect: () => setTheme('system') },
        { label: 'Dark, for reading rooms', icon: <Moon />, isChecked: now === 'dark', onSelect: () => setTheme('dark') },
        { label: 'Light', icon: <Sun />, isChecked: now === 'light', onSelect: () => setTheme('light') }
      ]}
    />
  )
}

function Account() {
  const current = session.value
  const name = current?.arn.split('/').pop()?.split(':').pop() ?? ''
  return (
    <Menu
      label={`Signed in as ${name}`}
      icon={<User />}
      head={<><strong>{name}</strong><span class="faint small">{current?.arn}</span></>}
      items={[{ label: 'Sign out', icon: <LogOut />, onSelect: () => void signOut() }]}
    />
  )
}

export function Mark() {
  return (
    <svg viewBox="0 0 32 32" width="22" height="22" aria-hidden="true">
      <path d="M2 3h7l-2.6 26h-1.8z" fill="currentColor" opacity="0.4" />
      <path d="M23 3h7l-2.6 26h-1.8z" fill="currentColor" opacity="0.4" />
      <path d="M11 3h10l-3.2 26h-3.6z" fill="currentColor" />
    </svg>
  )
}
