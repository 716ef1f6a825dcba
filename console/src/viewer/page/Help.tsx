import { Dialog } from '../../ui/Dialog'
import { KEYS } from './keys'

export function Help({ close }: { close: () => void }) {
  return (
    <Dialog title="Keys, mouse and touch" onClose={close} width="wide">
      <div class="key-help">
        {KEYS.map(({ title, keys }) => (
          <section key={title}>
            <h3>{title}</h3>
            <dl>
              {keys.map((one) => (
                <div key={one.keys}>
                  <dt><kbd>{one.keys}</kbd></dt>
                  <dd>{one.does}</dd>
                </div>
              ))}
            </dl>
          </section>
        ))}
      </div>
    </Dialog>
  )
}
