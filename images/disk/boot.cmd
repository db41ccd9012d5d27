# U-Boot's part of A/B. Which slot is tried, and how often it may still be tried, is kept twice outside of every file system
# (images/disk/slots writes the same places): whole or not at all, since each copy carries its checksum.
if test "${devtype}" = "virtio"; then
  setenv scratch 0x42000000; setenv kernel 0x44000000; setenv ramdisk 0x48000000; setenv packed 0x4a000000
  setenv console ttyAMA0
else
  setenv scratch 0x02400000; setenv kernel 0x0a000000; setenv ramdisk 0x10000000; setenv packed 0x12000000
  setenv console ttyS1,115200
fi
setenv ORDER; setenv A_LEFT; setenv B_LEFT
${devtype} dev ${devnum}
${devtype} read ${scratch} 0x800 0x20
if env import -c ${scratch} 0x4000 ORDER A_LEFT B_LEFT; then
  echo "petiole: state read"
else
  ${devtype} read ${scratch} 0x1000 0x20
  env import -c ${scratch} 0x4000 ORDER A_LEFT B_LEFT || echo "petiole: both states damaged"
fi
test -n "${ORDER}" || setenv ORDER "A B"
test -n "${A_LEFT}" || setenv A_LEFT 3
test -n "${B_LEFT}" || setenv B_LEFT 3
setenv slot
for candidate in ${ORDER}; do
  if test -z "${slot}"; then
    if test "${candidate}" = "A" && test 0x${A_LEFT} -gt 0; then setexpr A_LEFT ${A_LEFT} - 1; setenv slot A; setenv part 2; fi
    if test "${candidate}" = "B" && test 0x${B_LEFT} -gt 0; then setexpr B_LEFT ${B_LEFT} - 1; setenv slot B; setenv part 3; fi
  fi
done
if test -z "${slot}"; then
  echo "petiole: no slot has tries left: both get new ones"
  setenv A_LEFT 3; setenv B_LEFT 3
fi
env export -c -s 0x4000 ${scratch} ORDER A_LEFT B_LEFT
${devtype} write ${scratch} 0x800 0x20
${devtype} write ${scratch} 0x1000 0x20
test -n "${slot}" || reset
echo "petiole: slot ${slot}, tries left: A ${A_LEFT}, B ${B_LEFT}"
test -n "${fdt_addr}" || setenv fdt_addr ${fdtcontroladdr}
setenv kernel_comp_addr_r ${packed}; setenv kernel_comp_size 0x4000000
setenv bootargs "console=${console} quiet panic=10 petiole.slot=${slot}"
if load ${devtype} ${devnum}:${part} ${kernel} /Image.gz; then
  if load ${devtype} ${devnum}:${part} ${ramdisk} /initrd; then booti ${kernel} ${ramdisk}:${filesize} ${fdt_addr}; fi
fi
# This slot cannot be loaded: its try is used up.
reset
