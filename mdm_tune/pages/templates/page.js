(function(){
var root=document.documentElement,tip=document.getElementById("tip"),all=function(s){return Array.prototype.slice.call(document.querySelectorAll(s))};
root.classList.add("js");
function stored(value){try{if(value===undefined)return localStorage.getItem("mdm-tune-theme");localStorage.setItem("mdm-tune-theme",value)}catch(error){return null}}
var theme=document.getElementById("theme"),dark=window.matchMedia("(prefers-color-scheme: dark)");
function isDark(){return root.dataset.theme?root.dataset.theme==="dark":dark.matches}
function label(){theme.textContent=isDark()?"Light":"Dark";theme.setAttribute("aria-label","Use "+(isDark()?"light":"dark")+" colours")}
if(stored()==="dark"||stored()==="light")root.dataset.theme=stored();
theme.addEventListener("click",function(){root.dataset.theme=isDark()?"light":"dark";stored(root.dataset.theme);label()});
dark.addEventListener("change",label);label();
all("[data-tip] > title").forEach(function(title){title.remove()});
function show(event){
 var at=event.target.closest&&event.target.closest("[data-tip]");
 if(!at||!at.dataset.tip){tip.classList.remove("on");return}
 tip.textContent=at.dataset.tip;tip.classList.add("on");
 var box=tip.getBoundingClientRect(),x=Math.min(event.clientX+14,window.innerWidth-box.width-8),y=event.clientY+18;
 if(y+box.height>window.innerHeight-4)y=event.clientY-box.height-12;
 tip.style.left=Math.max(8,x)+"px";tip.style.top=Math.max(4,y)+"px"}
document.addEventListener("pointermove",show);document.addEventListener("pointerdown",show);
document.addEventListener("scroll",function(){tip.classList.remove("on")},{passive:true});
all("button[data-copy]").forEach(function(button){button.addEventListener("click",function(){
 var text=document.getElementById(button.dataset.copy).textContent;
 function done(ok){button.textContent=ok?"Copied":"Select and copy";setTimeout(function(){button.textContent="Copy"},1600)}
 function byHand(){var area=document.createElement("textarea");area.value=text;area.style.position="fixed";area.style.opacity="0";document.body.appendChild(area);area.select();var ok=false;try{ok=document.execCommand("copy")}catch(error){ok=false}area.remove();done(ok)}
 if(navigator.clipboard&&window.isSecureContext)navigator.clipboard.writeText(text).then(function(){done(true)},byHand);else byHand()})});
function key(row,column){var cell=row.cells[column],held=cell.querySelector("data");var text=held?held.value:cell.textContent.trim();var number=Number(text);return text!==""&&!isNaN(number)?number:text.toLowerCase()}
all("table.sortable").forEach(function(table){
 var body=table.tBodies[0],heads=Array.prototype.slice.call(table.tHead.rows[0].cells);
 heads.forEach(function(head,column){var button=head.querySelector("button");if(!button)return;
  button.addEventListener("click",function(){
   var up=head.getAttribute("aria-sort")!=="ascending";
   heads.forEach(function(other){other.removeAttribute("aria-sort")});
   head.setAttribute("aria-sort",up?"ascending":"descending");table.classList.add("sorted");
   Array.prototype.slice.call(body.rows).map(function(row,place){return[key(row,column),place,row]}).sort(function(first,second){
    var a=first[0],b=second[0],order=typeof a===typeof b?(a<b?-1:a>b?1:0):(typeof a==="number"?-1:1);
    return(up?order:-order)||first[1]-second[1]}).forEach(function(entry){body.appendChild(entry[2])})})})});
var closed=[];
window.addEventListener("beforeprint",function(){closed=all("details:not([open])");closed.forEach(function(each){each.open=true})});
window.addEventListener("afterprint",function(){closed.forEach(function(each){each.open=false})});
var updated=document.querySelector("time[data-updated]");
if(updated){var age=(Date.now()-Date.parse(updated.dateTime))/1000;var text=age<90?"just now":age<5400?Math.round(age/60)+" minutes ago":Math.round(age/3600)+" hours ago";updated.textContent=text;if(age>900)document.getElementById("stale").hidden=false;
 var left=document.querySelector("[data-left]");
 if(left){var rest=Number(left.dataset.left)-age;left.textContent=rest<=0?"It should end about now":"About "+(rest<100?Math.round(rest)+" s":(rest=Math.round(rest/60))<120?rest+" min":Math.floor(rest/60)+" h "+rest%60+" min")+" left"}}
})();
