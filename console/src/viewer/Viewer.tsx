export default function Viewer({ store, imageSet }: { store: string; imageSet: string }) {
  return <main data-store={store} data-image-set={imageSet} />
}
