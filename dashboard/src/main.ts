// The dashboard: a model, and the elements that show it.
import './style/tokens.css'
import './style/page.css'
import './style/grid.css'
import './style/details.css'
import './style/tabs.css'

import './elements/app.ts'
