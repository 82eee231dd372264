// What Grafana publishes of its boards' types, as a board's JSON has them: enumerations as their values, defaults left out.
import type { Dashboard, Panel, RowPanel } from '@grafana/schema';
import type * as Stat from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type * as TimeSeries from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';

type Plain<T> = T extends string ? `${T}`
  : T extends number ? number
  : T extends (infer U)[] ? Plain<U>[]
  : T extends object ? { [K in keyof T]?: Plain<T[K]> }
  : T;

type Of<Type extends string, Options, Custom> = Omit<Plain<Panel>, 'type' | 'options' | 'fieldConfig'> & {
  type: Type;
  options?: Plain<Options>;
  fieldConfig?: {
    defaults: Omit<NonNullable<NonNullable<Plain<Panel>['fieldConfig']>['defaults']>, 'custom'> & { custom?: Plain<Custom> };
    overrides: NonNullable<Plain<Panel>['fieldConfig']>['overrides'];
  };
};

export type Board = Omit<Plain<Dashboard>, 'panels'>;
export type Row = Plain<RowPanel> & { type: 'row' };
export type StatPanel = Of<'stat', Stat.Options, Record<string, never>>;
export type TimeSeriesPanel = Of<'timeseries', TimeSeries.Options, TimeSeries.FieldConfig>;
